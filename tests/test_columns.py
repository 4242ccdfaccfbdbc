"""Every results document has exactly the columns that `stepimp.rows` declares."""

import json

import pytest
from by_hand import comparison, fractions, search, sizes
from documents import unfit_rows

from stepimp.columns import columns, document_columns, mismatch, typed, view
from stepimp.fixtures import __path__ as fixtures
from stepimp.rows import PARTS, CurveRow, KlRow, LossRow, NelboRow
