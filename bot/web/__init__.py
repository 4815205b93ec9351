"""The local web page: `python -m bot web`. Only the modules about the page itself need Gradio."""
