package providersim

// FaultKinds lets the tests hold themselves, and the documentation, to every
// fault there is.
func FaultKinds() []string { return kindNames() }
