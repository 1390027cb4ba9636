comment on column change.kind is 'The letter of an object type: `kind` in the declaration of each `ObjectType`.';
