"""A page of data as the network receives them: examples with targets, numbers of each part, and differences."""

from pellucid.recipe.data_page.look import data_page, page_of_parts
from pellucid.recipe.data_page.page import DataPage

__all__ = ["DataPage", "data_page", "page_of_parts"]
