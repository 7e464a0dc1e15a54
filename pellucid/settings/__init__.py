"""Values that users give: arguments of calls, and values read by the types that constructors declare, all checked."""
