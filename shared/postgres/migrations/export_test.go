package migrations

// For the tests, which are in a package of their own since pgtest imports this one.
var (
	Schema     = schema
	ApplyFiles = apply
	HashFiles  = hash
)
