"""The Llama network in numpy: tokens at their places in, keys and values kept, hidden states out.

**Independent of how a prompt is cut.** A product of matrices rounds differently for another number
of rows, and for another place of a row among them. So everything is computed in tiles of `TILE`
neighbouring places, and the token at place p is always row p % TILE of a tile that begins at a
multiple of TILE. Rows that are not wanted are zeros: they cost their time, their results are
dropped. Attention in a tile looks at all places up to the tile's end, and what lies behind a row
is masked to a weight of exactly 0. Hence every product that a token takes part in has one shape,
which its place alone decides, and whether it comes in a long prompt, after a loaded state or by
decoding, its keys, values and logits are the same to the last bit (on one machine, with one number
of threads).

What it costs, measured on an AMD EPYC core (shared with other work), one thread, 4.7 million
parameters (width 256, 5 layers, vocabulary 2,048), all matrix products of one tile, min/median/max
of 15 in ms:

    rows  1               2               4               8
    ms    0.24/0.29/0.74  1.02/1.21/5.40  0.98/1.15/5.19  1.40/1.49/5.52

    rows  16              32              64
    ms    1.90/2.08/6.88  3.24/3.33/7.41  5.77/9.81/10.05

A tile of 8 is therefore five times the price of a lone row when decoding, 1.5 ms against 0.3, and
buys exactness; in a prompt a token costs 0.19 ms in it, and would cost 0.13 in a tile of 16. All in
all, with attention and numpy's calls, decoding made 334/414/505 tokens per second after 10 tokens
and 202/254/277 after 1,000, and a prompt of 1,000 tokens took 338/378/451 ms (9 runs each).

Rotary positions are llama.cpp's for this architecture: neighbouring numbers are a pair, so a pair
is a complex number and a rotation one complex product.
"""

import numpy as np
import numpy.typing as npt

from rkllmd.engine.tiny.gguf import Floats, GgufFile, damaged
from rkllmd.engine.tiny.shape import ModelShape

TILE = 8
"""A power of two; what it costs is above."""


class Layer:
    """One block's weights, laid out for one product each: inputs down, outputs across."""

    def __init__(self, file: GgufFile, index: int, shape: ModelShape) -> None:
        width, inner = shape.width, shape.inner
        kv_width = shape.kv_heads * shape.head_width

        def matrix(name: str, rows: int, columns: int) -> Floats:
            return file.tensor(f"blk.{index}.{name}.weight", rows, columns)

        query = matrix("attn_q", width, width) * np.float32(shape.head_width**-0.5)
        key, value = matrix("attn_k", kv_width, width), matrix("attn_v", kv_width, width)
        self.attention_norm = file.tensor(f"blk.{index}.attn_norm.weight", width)
        self.query_key_value = across(query, key, value)
        self.attention_out = across(matrix("attn_output", width, width))
        self.inner_norm = file.tensor(f"blk.{index}.ffn_norm.weight", width)
        self.gate_up = across(matrix("ffn_gate", inner, width), matrix("ffn_up", inner, width))
        self.down = across(matrix("ffn_down", width, inner))


def across(*matrices: Floats) -> Floats:
    """Matrices with outputs down, side by side with outputs across."""
    return np.ascontiguousarray(np.concatenate(matrices).T)


class Transformer:
    """A model's weights, and the keys and values of the places that were computed."""

    def __init__(self, file: GgufFile, shape: ModelShape, context_tokens: int) -> None:
        self.shape = shape
        refuse_unknown_tensors(file, shape)
        self.embedding = file.tensor("token_embd.weight", shape.vocabulary, shape.width)
        self.layers = [Layer(file, index, shape) for index in range(shape.layers)]
        self.norm = file.tensor("output_norm.weight", shape.width)
        self.head = (
            file.tensor("output.weight", shape.vocabulary, shape.width)
            if "output.weight" in file.tensors
            else self.embedding
        )
        places = -(-context_tokens // TILE) * TILE
        size = (shape.layers, shape.kv_heads, places, shape.head_width)
        self.keys = np.zeros(size, np.float32)
        self.values = np.zeros(size, np.float32)
        self.turns = rotations(file, shape, places)
        self._mask = np.triu(np.full((TILE, TILE), -np.inf, np.float32), 1)
        self._rows = np.zeros((TILE, shape.width), np.float32)
        self._normed = np.empty((TILE, shape.width), np.float32)
        self._rotated = np.empty((shape.heads + shape.kv_heads, TILE, shape.head_width), np.float32)
        self._scores = np.empty(shape.heads * TILE * places, np.float32)

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        layers: int = sum(matrix.size for layer in self.layers for matrix in vars(layer).values())
        tied = self.head is self.embedding
        return layers + self.norm.size + self.embedding.size + (0 if tied else self.head.size)

    def forget(self) -> None:
        """Make every number of the cache a good one again."""
        self.keys[:] = 0
        self.values[:] = 0

    @np.errstate(over="ignore", invalid="ignore")
    def logits(self, hidden: Floats) -> Floats:
        """How well each token would follow a hidden state."""
        return np.asarray(np.dot(self.head, hidden))

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, place: int, tokens: npt.NDArray[np.int32]) -> Floats:
        """Compute tokens that stand in one tile, from this place on; their hidden states.

        What is returned is valid until the next call. Numbers that are not finite raise no warning
        here: in `gated` they are meant, and elsewhere the sampler finds them.
        """
        first = place % TILE
        used = slice(first, first + len(tokens))
        assert used.stop <= TILE, "tokens over the end of a tile"
        rows = self._rows
        rows[:] = 0
        rows[used] = self.embedding[tokens]
        for index, layer in enumerate(self.layers):
            normed = self._normalised(rows, layer.attention_norm)
            rows += self._attended(index, layer, normed, place - first, used)
            normed = self._normalised(rows, layer.inner_norm)
            rows += gated(normed @ layer.gate_up) @ layer.down
        return self._normalised(rows, self.norm)[used]

    def _normalised(self, rows: Floats, gain: Floats) -> Floats:
        normed = self._normed
        np.multiply(rows, rows, out=normed)
        scale = np.add.reduce(normed, axis=1, keepdims=True)
        scale /= self.shape.width
        scale += np.float32(self.shape.norm_epsilon)
        np.sqrt(scale, out=scale)
        np.divide(rows, scale, out=normed)
        normed *= gain
        return normed

    def _attended(
        self, index: int, layer: Layer, normed: Floats, start: int, used: slice
    ) -> Floats:
        """What a tile's rows gather from all places up to the tile's end."""
        shape, end = self.shape, start + TILE
        heads, kv_heads, head_width = shape.heads, shape.kv_heads, shape.head_width
        mixed = normed @ layer.query_key_value
        by_head = mixed.reshape(TILE, heads + 2 * kv_heads, head_width).transpose(1, 0, 2)
        rotated = self._rotated
        np.multiply(
            by_head[: heads + kv_heads].view(np.complex64),
            self.turns[start:end],
            out=rotated.view(np.complex64),
        )
        held = slice(start + used.start, start + used.stop)
        self.keys[index, :, held] = rotated[heads:, used]
        self.values[index, :, held] = by_head[heads + kv_heads :, used]
        queries = rotated[:heads].reshape(kv_heads, -1, head_width)
        scores = self._scores[: heads * TILE * end].reshape(kv_heads, -1, end)
        np.matmul(queries, self.keys[index, :, :end].transpose(0, 2, 1), out=scores)
        weigh(scores.reshape(heads, TILE, end), self._mask)
        gathered = np.matmul(scores, self.values[index, :, :end])
        joined = gathered.reshape(heads, TILE, head_width).transpose(1, 0, 2)
        return np.asarray(joined.reshape(TILE, -1) @ layer.attention_out)


def weigh(scores: Floats, mask: Floats) -> None:
    """Softmax over the places that each row may look at; the last ones are the tile's own."""
    scores[:, :, -TILE:] += mask
    scores -= np.maximum.reduce(scores, axis=2, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=2, keepdims=True)


def gated(both: Floats) -> Floats:
    """SwiGLU of the gate's and the other half's products."""
    half = both.shape[1] // 2
    gate, up = both[:, :half], both[:, half:]
    slope = np.negative(gate)
    np.exp(slope, out=slope)
    slope += 1
    np.divide(gate, slope, out=slope)
    slope *= up
    return slope


def rotations(file: GgufFile, shape: ModelShape, places: int) -> npt.NDArray[np.complex64]:
    """For each place the complex numbers that turn a head's pairs."""
    pairs = shape.head_width // 2
    speeds = shape.rope_base ** (-np.arange(pairs) / pairs)
    if "rope_freqs.weight" in file.tensors:
        factors = file.tensor("rope_freqs.weight", pairs)
        if not (factors > 0).all():
            raise damaged("the tensor rope_freqs.weight holds numbers that are not above 0")
        speeds = speeds / factors
    angles = np.outer(np.arange(places), speeds)
    return np.asarray(np.exp(1j * angles), np.complex64)


def refuse_unknown_tensors(file: GgufFile, shape: ModelShape) -> None:
    """A tensor that is not used, such as a bias, would change what the model says."""
    attention = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output")
    names = (*attention, "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
    known = {f"blk.{index}.{name}.weight" for index in range(shape.layers) for name in names}
    known |= {"token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight"}
    if unknown := sorted(file.tensors.keys() - known):
        raise damaged(f"it has the tensor {unknown[0]}, which the tiny engine does not know")
