"""What those run who publish the series; a reader needs none of it."""
