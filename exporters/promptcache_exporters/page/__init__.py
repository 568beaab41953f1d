"""The page of `promptcache open` and of `report --html`. It needs Jinja2 (extra `report`)."""
