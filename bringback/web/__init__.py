"""The page of `bringback web`, without gradio but for `page`: visitors and their files, masks, stages, words."""
