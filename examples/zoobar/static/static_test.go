package static_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"cofferdam/examples/zoobar/static"
)

func TestStatic(t *testing.T) {
	h, err := static.New(os.DirFS("../media"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/index.html", 200, "text/html; charset=utf-8"},
		{"GET", "/favicon.ico", 200, "image/x-icon"},
		{"GET", "/zoobar/media/zoobar.css", 200, "text/css; charset=utf-8"},
		{"GET", "/zoobar/media/lion_awake.jpg", 200, "image/jpeg"},
		{"HEAD", "/zoobar/media/lion_sleeping.jpg", 200, "image/jpeg"},
		{"POST", "/index.html", 405, ""},
		{"GET", "/zoobar/media/", 404, ""},
		{"GET", "/zoobar/media/index.html", 404, ""},
		{"GET", "/zoobar/media/../../etc/passwd", 404, ""},
		{"GET", "/zoobar/media/zoobar.css/more", 404, ""},
		{"GET", "/person.db", 404, ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || tt.contentType != "" && w.Header().Get("Content-Type") != tt.contentType {
			t.Errorf("%s %s = %d %s, want %d %s", tt.method, tt.path, w.Code, w.Header().Get("Content-Type"), tt.status, tt.contentType)
		}
		if tt.status == 404 && strings.Contains(w.Body.String(), "srv") {
			t.Errorf("%s tells where its files are: %s", tt.path, w.Body)
		}
		if tt.status == http.StatusOK && tt.method == "GET" && w.Body.Len() == 0 {
			t.Errorf("%s is empty", tt.path)
		}
	}
}

func TestMissingMedia(t *testing.T) {
	if _, err := static.New(os.DirFS(t.TempDir())); err == nil {
		t.Error("New without files succeeds")
	}
}
