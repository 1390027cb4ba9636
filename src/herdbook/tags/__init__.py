"""Tags: how a team sorts its engagements."""
