"""Operations: what people can do with volumes and what belongs to them, each within one commit."""
