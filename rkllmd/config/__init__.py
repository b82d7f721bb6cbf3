"""What an administrator can set.

`settings` says what there is, `document` reads YAML strictly, `loader` puts default, file and
`--set` together and compares two trees at a reload, `listing` writes them for people.

Read once at start and once at each reload, into a new frozen tree; nobody reads the environment or
a file later. A wrong value stops the start with file, line, key, what was found, what is allowed,
and the nearest known key. Relative paths are relative to the configuration file's folder.
"""
