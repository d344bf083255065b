"""The one field that prompts are written in: Create, forms and the canvas use it.

editor = PromptEditor(app, bridge)
editor.set_model(ModelRef(name="starter"))
editor.text_changed.connect(...)      # what the person changed, not what set_text showed
editor.submitted.connect(...)         # Ctrl+Enter
"""

from ui.prompt_editor.editor import PromptEditor

__all__ = ["PromptEditor"]
