"""Where promptcache's spans go when there is no backend, and the artefacts for those who have one."""
