"""The engine and the images, for all tests of this folder."""

from tests.engine import engine as engine
from tests.engine import images as images
