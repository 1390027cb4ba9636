"""Webhook endpoints: where a workspace wants its events sent."""
