"""Operations of image: what can be done to images, their data, their members, and imports."""
