"""What the forkserver imports once, so that each worker starts with it loaded."""

import fastdump.engine.backup.run
import fastdump.engine.copy.run
import fastdump.engine.restore.run
import fastdump.engine.verify.run  # noqa: F401
