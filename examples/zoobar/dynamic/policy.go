package dynamic

import "regexp"

// sourceHosts are the hosts that the grammar of a content security policy has:
// no IPv6 address, and nothing that would end the directive.
var sourceHosts = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)

// policy is what the browser may do with the page at path: CSP level 3.
//
// The page's own scripts are named by a number that is new on each page. The page
// with the output of other people's programs is held shorter than the others: a
// form in it can search for users but transfer nothing, and an image in it
// can neither log the visitor out nor run further profiles.
func policy(host, path, nonce string) string {
	images, forms := "'self'", "'self'"
	if path == Prefix+"/users" {
		images, forms = "'none'", "'none'"
		if sourceHosts.MatchString(host) {
			images, forms = host+"/zoobar/media/", host+Prefix+"/users"
		}
	}
	return "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'self'; img-src " + images +
		"; form-action " + forms + "; base-uri 'none'; frame-ancestors 'none'"
}
