"""One editor for each kind of setting: switch, list, number, text, folder, list of folders."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QFileDialog, QLineEdit, QPlainTextEdit, QWidget

from studio_app.settings.table import Setting
from ui import theme
from ui.widgets.basics import IconButton, describe
from ui.widgets.inputs import Choice, NumberField, SliderField, Toggle
from ui.widgets.layouts import Row

_SLIDER_SPAN = 20  # ranges up to this wide are shown as a slider too


class SettingEditor(QWidget):
    """`edited` fires with the new value when a person changes it; `show_value` shows one without firing."""

    edited = Signal(object)

    def __init__(self, setting: Setting, field: QWidget) -> None:
        super().__init__()
        self.setting, self.field = setting, field
        self.row = Row(self, spacing=0.5)
        self.row.addWidget(field, 1)
        self.setFocusProxy(field)
        describe(field, setting.label, setting.help)

    def show_value(self, value: Any) -> None:
        raise NotImplementedError


class _BoolEditor(SettingEditor):
    def __init__(self, setting: Setting, value: Any) -> None:
        self.toggle = Toggle("")
        super().__init__(setting, self.toggle)
        self.row.addStretch(1)
        self.show_value(value)
        self.toggle.toggled.connect(self._toggled)

    def show_value(self, value: Any) -> None:
        self.toggle.blockSignals(True)
        self.toggle.setChecked(bool(value))
        self.toggle.blockSignals(False)
        self.toggle.update()

    @Slot(bool)
    def _toggled(self, on: bool) -> None:
        self.edited.emit(on)


class _ChoiceEditor(SettingEditor):
    def __init__(self, setting: Setting, value: Any) -> None:
        self.choice = Choice(setting.label, setting.help)
        lacking = setting.lacking() if setting.lacking is not None else {}
        for key, label in setting.choices:
            self.choice.addItem(f"{label}: not installed" if key in lacking else label, key)
        rows = self.choice.model()
        if isinstance(rows, QStandardItemModel):
            for row, (key, _) in enumerate(setting.choices):
                rows.item(row).setEnabled(key not in lacking)
        super().__init__(setting, self.choice)
        self.show_value(value)
        self.choice.activated.connect(self._chosen)

    def show_value(self, value: Any) -> None:
        self.choice.setCurrentIndex(max(0, self.choice.findData(value)))

    @Slot()
    def _chosen(self) -> None:
        self.edited.emit(self.choice.currentData())


class _NumberEditor(SettingEditor):
    def __init__(self, setting: Setting, value: Any) -> None:
        low = setting.minimum if setting.minimum is not None else 0
        high = setting.maximum if setting.maximum is not None else 2**31
        whole = setting.kind == "int"
        make = SliderField if not whole and high - low <= _SLIDER_SPAN else NumberField
        self.number: SliderField | NumberField = make(
            setting.label, setting.help, minimum=low, maximum=high, value=float(value), step=1 if whole else 0.05,
            decimals=0 if whole else 2,
        )  # fmt: skip
        super().__init__(setting, self.number)
        # Sizes of text change under the pointer while a slider moves: only a value that is let go of counts.
        if isinstance(self.number, SliderField):
            describe(self.number.slider, setting.label, setting.help)
            self.number.slider.setTracking(False)
        self.number.value_changed.connect(self._changed)

    def show_value(self, value: Any) -> None:
        self.number.blockSignals(True)
        self.number.setValue(float(value))
        self.number.blockSignals(False)

    @Slot(float)
    def _changed(self, value: float) -> None:
        self.edited.emit(int(value) if self.setting.kind == "int" else value)


class PresetEditor(_NumberEditor):
    """A number with a list of usual values beside it; another number shows as “Other”."""

    def __init__(self, setting: Setting, value: Any) -> None:
        self.presets = Choice(f"Usual values of {setting.label}", setting.help)
        for number, label in setting.presets:
            self.presets.addItem(label, number)
        self.presets.addItem("Other")
        super().__init__(setting, value)
        self.row.insertWidget(0, self.presets, 1)
        self.presets.activated.connect(self._preset_chosen)
        self._mark()

    def show_value(self, value: Any) -> None:
        super().show_value(value)
        self._mark()

    @Slot(int)
    def _preset_chosen(self, index: int) -> None:
        number = self.presets.itemData(index)
        if number is None:
            self.number.setFocus()
        elif number != self.number.value():
            self.number.setValue(number)

    @Slot(float)
    def _changed(self, value: float) -> None:
        self._mark()
        super()._changed(value)

    def _mark(self) -> None:
        known = self.presets.findData(self.number.value())
        self.presets.setCurrentIndex(known if known >= 0 else self.presets.count() - 1)


class _TextEditor(SettingEditor):
    def __init__(self, setting: Setting, value: Any) -> None:
        self.line = QLineEdit()
        super().__init__(setting, self.line)
        self.show_value(value)
        self.line.editingFinished.connect(self._finished)

    def show_value(self, value: Any) -> None:
        self.line.setText(str(value))

    @Slot()
    def _finished(self) -> None:
        self.edited.emit(self.line.text().strip())


class _PathEditor(_TextEditor):
    def __init__(self, setting: Setting, value: Any) -> None:
        super().__init__(setting, value)
        self.line.setPlaceholderText("The usual place")
        self.browse = IconButton("folder-open", f"Choose {setting.label}", "Chooses a folder.", size=16)
        self.browse.clicked.connect(self._choose)
        self.row.addWidget(self.browse)

    @Slot()
    def _choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.setting.label, self.line.text())
        if chosen:
            self.line.setText(chosen)
            self.edited.emit(chosen)


class _ListEditor(SettingEditor):
    """A list of folders or of host names, one on each line."""

    def __init__(self, setting: Setting, value: Any) -> None:
        self.lines = QPlainTextEdit()
        self.lines.setTabChangesFocus(True)
        folders = not setting.key.endswith("hosts")
        self.lines.setPlaceholderText("One folder on each line" if folders else "One host on each line")
        self.lines.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.lines.setFixedHeight(theme.px(72))
        super().__init__(setting, self.lines)
        self.browse = IconButton("folder-open", f"Add to {setting.label}", "Chooses a folder to add.", size=16)
        self.browse.clicked.connect(self._add)
        self.row.addWidget(self.browse, 0, Qt.AlignmentFlag.AlignTop)
        self.browse.setVisible(folders)
        self.show_value(value)
        self.lines.textChanged.connect(self._changed)

    def show_value(self, value: Any) -> None:
        self.lines.blockSignals(True)
        self.lines.setPlainText("\n".join(str(item) for item in value))
        self.lines.blockSignals(False)

    @Slot()
    def _changed(self) -> None:
        self.edited.emit([line.strip() for line in self.lines.toPlainText().splitlines() if line.strip()])

    @Slot()
    def _add(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.setting.label)
        if chosen:
            self.lines.appendPlainText(chosen)


_EDITORS: dict[str, type[SettingEditor]] = {
    "bool": _BoolEditor,
    "choice": _ChoiceEditor,
    "int": _NumberEditor,
    "float": _NumberEditor,
    "text": _TextEditor,
    "path": _PathEditor,
    "json": _ListEditor,
}


def editor_for(setting: Setting, value: Any) -> SettingEditor:
    """The editor of a setting, showing `value`."""
    make: Any = PresetEditor if setting.presets else _EDITORS[setting.kind]
    editor: SettingEditor = make(setting, value)
    return editor
