"""What `tools/bench` measures, a file for each: real daemons, asked as clients ask them.

What is compared is done in turns in one run (A B A B …), so that whatever else the machine does
falls on both. Nothing here is a test: a number is printed, never judged.
"""
