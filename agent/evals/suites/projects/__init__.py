"""Small repositories as templates, a module each, for the suite `edits`."""

from fastslow.agent.evals.suites.projects.bookings import BOOKINGS
from fastslow.agent.evals.suites.projects.grades import GRADES
from fastslow.agent.evals.suites.projects.grid import GRID
from fastslow.agent.evals.suites.projects.ledger import LEDGER
from fastslow.agent.evals.suites.projects.logs import LOGS
from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words, fill
from fastslow.agent.evals.suites.projects.routes import ROUTES
from fastslow.agent.evals.suites.projects.settings import SETTINGS
from fastslow.agent.evals.suites.projects.shop import SHOP
from fastslow.agent.evals.suites.projects.stock import STOCK
from fastslow.agent.evals.suites.projects.text import TEXT

PROJECTS = (SHOP, TEXT, BOOKINGS, LEDGER, SETTINGS, STOCK, GRADES, ROUTES, LOGS, GRID)

__all__ = ["PROJECTS", "Draw", "Project", "Slip", "Words", "fill"]
