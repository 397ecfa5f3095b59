package supervisor

import (
	"cofferdam/manifest"
)

// needsDoor tells whether anything in the application speaks HTTP across a
// border: people through the gateway, or services to each other.
func needsDoor(app *manifest.App) bool {
	if app.Gateway != nil {
		return true
	}
	for _, g := range app.Grants() {
		if g.Kind == "http" {
			return true
		}
	}
	return false
}
