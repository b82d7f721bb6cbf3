"""What nobody could tell without a board: the questions, and the experiments that answer them."""
