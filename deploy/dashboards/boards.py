"""All boards."""

from deploy.dashboards.models import MODELS_BOARD
from deploy.dashboards.rollout import ROLLOUT
from deploy.dashboards.service import SERVICE

BOARDS = (SERVICE, ROLLOUT, MODELS_BOARD)
