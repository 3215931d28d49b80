"""Operations: what people can do with servers, each within one commit."""
