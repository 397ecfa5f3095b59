package calls

import (
	"cofferdam/sdk"
)

// Acting is how a call is made for a person: it shows the person's privilege,
// which only an instance that the gateway had started for that person owns. For
// nobody, it shows nothing.
func Acting(name string) (sdk.Options, error) {
	if name == "" {
		return sdk.Options{}, nil
	}
	shown, err := sdk.Principal(name)
	return sdk.Options{Shown: shown}, err
}

// ActsFor tells whether who calls has shown that it acts for the person.
func ActsFor(from sdk.Caller, name string) bool {
	person, err := sdk.Principal(name)
	return err == nil && from.Shown.Implies(person)
}
