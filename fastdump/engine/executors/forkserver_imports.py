"""What the forkserver imports once, so that each worker starts with it loaded."""

import fastdump.engine.backup
import fastdump.engine.copy
import fastdump.engine.restore
import fastdump.engine.verify  # noqa: F401
