"""What Pellucid and other libraries explain of the same networks."""
