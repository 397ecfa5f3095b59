// Package static answers for the few files that are the same for everybody.
//
// The files are read once at the start; a request chooses from a fixed table
// of paths and touches no file system.
//
// Trusted: no.
package static

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"time"
)

// resources are all that can be asked for: path, file, type.
var resources = []struct{ path, file, contentType string }{
	{"/", "index.html", "text/html; charset=utf-8"},
	{"/index.html", "index.html", "text/html; charset=utf-8"},
	{"/favicon.ico", "favicon.ico", "image/x-icon"},
	{"/zoobar/media/zoobar.css", "zoobar.css", "text/css; charset=utf-8"},
	{"/zoobar/media/lion_awake.jpg", "lion_awake.jpg", "image/jpeg"},
	{"/zoobar/media/lion_sleeping.jpg", "lion_sleeping.jpg", "image/jpeg"},
}

type resource struct {
	contentType string
	content     []byte
}

// New returns a handler for the files of media, which must have all of them.
func New(media fs.FS) (http.Handler, error) {
	byPath := make(map[string]resource)
	for _, r := range resources {
		content, err := fs.ReadFile(media, r.file)
		if err != nil {
			return nil, fmt.Errorf("read media: %w", err)
		}
		byPath[r.path] = resource{r.contentType, content}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, ok := byPath[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			w.Header().Set("Content-Type", found.contentType)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.content))
		}
	}), nil
}
