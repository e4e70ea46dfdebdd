"""More like this: the objects of a search whose images are nearest to one of them."""
