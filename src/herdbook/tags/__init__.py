"""Tags: labels by which a team sorts its engagements."""
