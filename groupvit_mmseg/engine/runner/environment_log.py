"""The environment, the whole config and the hooks in the log file, and only there."""

from __future__ import annotations

import logging

from mmengine.runner import Runner

LONG_MESSAGES = ('\n' + '-' * 60 + '\nSystem environment:', 'Config:\n', 'Hooks will be executed')
"""tuple[str, ...]: How mmengine's messages of dozens or hundreds of lines begin."""


class EnvironmentLog(Runner):
    """Runner that keeps mmengine's hundreds of lines about the environment off the terminal.

    They stay in the log file. The settings that determine the result are printed later, by
    :class:`.RunSummaryHook`.
    """

    def _log_env(self, env_cfg: dict) -> None:
        """Log the environment and the config, to the file alone if there is one."""
        files = [h.baseFilename for h in self.logger.handlers if isinstance(h, logging.FileHandler)]
        if files:
            for handler in self.logger.handlers:
                if not isinstance(handler, logging.FileHandler):
                    handler.addFilter(_is_short)
        super()._log_env(env_cfg)
        if files:
            self.logger.info(f'Environment, config and hooks: {files[0]}')


def _is_short(record: logging.LogRecord) -> bool:
    """Return whether a message is none of ``LONG_MESSAGES``."""
    return not str(record.msg).startswith(LONG_MESSAGES)
