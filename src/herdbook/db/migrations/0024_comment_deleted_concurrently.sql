-- The deleted comments of an engagement; an erasure asks for them.
create index concurrently if not exists transcript_comment_deleted on transcript_comment (workspace_id, engagement_id)
    where deleted_at is not null;
