"""What OpenMMLab calls the weights of context blocks."""

from gcnet_jax.nn.context import (
    ContextBlock,
    GlobalContext,
    NonLocal,
    PairwiseAttention,
    SimplifiedNonLocal,
    SqueezeExcite,
)

Rows = tuple[tuple[str, str], ...]
"""What variables are called elsewhere: rows of ours, a regular expression over whole parts between
dots, and theirs. A name goes through all rows in order; each rewrites a part of its own."""

# What a block is called where it is a part of a network, and its rows: they hold for what is inside
# of it alone. OpenMMLab has no simplified non-local block: its names are ours, and so are those of
# blocks that are not in the table, which keep the names they have here.
_CONTEXT_BLOCKS: dict[type[ContextBlock], tuple[str, Rows]] = {
    GlobalContext: (
        "context_block",
        (
            (r"pool\.score", "conv_mask"),
            (r"add\.reduce", "channel_add_conv.0"),
            (r"add\.norm", "channel_add_conv.1"),
            (r"add\.expand", "channel_add_conv.3"),
            (r"multiply\.reduce", "channel_mul_conv.0"),
            (r"multiply\.norm", "channel_mul_conv.1"),
            (r"multiply\.expand", "channel_mul_conv.3"),
        ),
    ),
    NonLocal: (
        "nonlocal_block",
        (
            (r"pool\.(theta|phi|g)", r"\1.conv"),
            (r"pool\.project", "concat_project.conv"),
            (r"add", "conv_out.conv"),
        ),
    ),
    SimplifiedNonLocal: (
        "simplified_nonlocal_block",
        ((r"pool\.score", "conv_mask"), (r"add", "conv_value")),
    ),
    SqueezeExcite: (
        "se_layer",
        ((r"multiply\.reduce", "conv1.conv"), (r"multiply\.expand", "conv2.conv")),
    ),
}
_SUB_SAMPLED: Rows = ((r"(phi|g)\.conv", r"\1.0.conv"),)


def context_block_names(block: ContextBlock) -> tuple[str, Rows]:
    """What a context block is called where it is a part of a network, and the rows inside of it."""
    name, rows = _CONTEXT_BLOCKS.get(type(block), ("context", ()))
    if isinstance(block.pool, PairwiseAttention) and block.pool.sub_sample:
        return name, (*rows, *_SUB_SAMPLED)
    return name, rows
