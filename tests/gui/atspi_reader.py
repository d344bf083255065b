"""Reads names out of the accessibility tree as a screen reader does; run by the system's Python, which has `dbus`.

python3 atspi_reader.py     prints "role<TAB>name" of everything it reaches, once an application is there
"""

import sys
import time

import dbus
import dbus.bus

ACCESSIBLE = "org.a11y.atspi.Accessible"
MOST = 600


def main() -> int:
    session = dbus.SessionBus()
    address = session.get_object("org.a11y.Bus", "/org/a11y/bus").GetAddress(dbus_interface="org.a11y.Bus")
    bus = dbus.bus.BusConnection(address)
    root = bus.get_object("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root")
    waiting = []
    for _ in range(100):
        waiting = [tuple(child) for child in root.GetChildren(dbus_interface=ACCESSIBLE)]
        if waiting:
            break
        time.sleep(0.1)
    seen = 0
    while waiting and seen < MOST:
        owner, path = waiting.pop(0)
        thing = bus.get_object(owner, path, introspect=False)
        try:
            name = thing.Get(ACCESSIBLE, "Name", dbus_interface="org.freedesktop.DBus.Properties")
            role = thing.GetRoleName(dbus_interface=ACCESSIBLE)
            children = thing.GetChildren(dbus_interface=ACCESSIBLE)
        except dbus.DBusException:
            continue
        sys.stdout.write(f"{role}\t{name}\n")
        waiting += [tuple(child) for child in children]
        seen += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
