"""Operations on pixels, without weights or files."""
