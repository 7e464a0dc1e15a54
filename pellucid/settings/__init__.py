"""Values that users give: read by the types that constructors declare, and checked."""
