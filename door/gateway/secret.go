package gateway

import (
	"errors"
	"net/http"
)

// kept are the headers of a secret answer that reach the browser. Any other could
// make it tell somebody else: by asking for more (Link, Refresh), by reporting
// (Reporting-Endpoints, NEL, a policy of its own), by turning elsewhere (Alt-Svc),
// or by keeping something that it shows to a service that may not know it
// (Set-Cookie, ETag). New ones are made all the time; these are what a page needs.
var kept = map[string]bool{
	"Accept-Ranges":       true,
	"Allow":               true,
	"Content-Disposition": true,
	"Content-Encoding":    true,
	"Content-Language":    true,
	"Content-Length":      true,
	"Content-Range":       true,
	"Content-Type":        true,
	"Date":                true,
	"Retry-After":         true,
}

// sealed is what a browser is told about a secret answer. Until somebody clicks,
// such a page loads nothing and goes nowhere: each request would carry what it
// chooses, to a service that may be public. So it brings its styles and pictures
// along, has no scripts, which could go anywhere by themselves (no policy forbids
// that), and what a person sends with its forms comes back to where it is from.
var sealed = map[string]string{
	"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; sandbox allow-forms allow-same-origin",
	"Cache-Control":                "no-store, private",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Dns-Prefetch-Control":       "off",
	"X-Frame-Options":              "DENY",
}

// errRedirects says that a secret answer would have made the browser go on by
// itself, to whatever address it chose. Not even to its own service: if the browser
// shows no cookie there, as its answers could arrange, it is another instance that
// is asked, which may know nothing.
var errRedirects = errors.New("a secret answer redirects, which would tell what it holds")

// seal makes of an answer one that a browser keeps to itself.
func (r *response) seal() error {
	sealing := r.fields[:0]
	for _, one := range r.fields {
		name := http.CanonicalHeaderKey(one.name)
		if name == "Location" {
			return errRedirects
		}
		if kept[name] {
			sealing = append(sealing, one)
		}
	}
	for name, value := range sealed {
		sealing = append(sealing, field{name, value})
	}
	r.fields = sealing
	return nil
}
