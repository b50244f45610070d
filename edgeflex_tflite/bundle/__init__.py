"""Everything that a device, or somebody who wants the same file again, needs in one folder."""
