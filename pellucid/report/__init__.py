"""Pages and figures of reports: values in, HTML and matplotlib figures out; nothing here knows a model."""
