"""An app that shows a model: a page that runs it in the browser, and a Space for Hugging Face."""
