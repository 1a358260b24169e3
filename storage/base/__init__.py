"""Ground that every other package stands on: ids, settings, the logs' format. Imports no other package of ours.

Begin with ids.py; settings.py has every setting.
"""
