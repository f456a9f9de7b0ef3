"""The web page of `bringback web`: sessions, masks, pipelines and texts. Only `page` and `server` use gradio."""
