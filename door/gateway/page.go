package gateway

import (
	"fmt"
	"net/http"
	"strconv"
)

// sentences is all that people are told. What happened in detail is in the log,
// under the same id: names, addresses and paths of the inside stay there.
var sentences = map[int]string{
	http.StatusBadRequest:              "The request could not be understood.",
	http.StatusSeeOther:                "Please log in first.",
	http.StatusForbidden:               "You may not see this.",
	http.StatusNotFound:                "There is nothing at this address.",
	http.StatusMethodNotAllowed:        "This method is not available here.",
	http.StatusRequestTimeout:          "The request took too long to arrive.",
	http.StatusRequestEntityTooLarge:   "The request is too large.",
	http.StatusTooManyRequests:         "There were too many requests. Please try again in a moment.",
	http.StatusRequestURITooLong:       "The address is too long.",
	http.StatusBadGateway:              "The service ended, or failed, while it was at the request. What was asked for may have been done, or not.",
	http.StatusServiceUnavailable:      "The service is not available at the moment. Nothing was done. Please try again later.",
	http.StatusGatewayTimeout:          "The service took too long to answer. What was asked for may have been done, or not.",
	http.StatusHTTPVersionNotSupported: "This version of HTTP is not available here.",
}

// page answers with a status, a sentence and the id. id is the gateway's own and
// needs no escaping.
func page(w http.ResponseWriter, status int, id string) {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	body := fmt.Sprintf("<!doctype html>\n<meta charset=utf-8>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s\n<p>Request %s\n",
		title, title, sentences[status], id)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		h.Set("Connection", "close") // after CONNECT the client may send anything
	case http.StatusHTTPVersionNotSupported, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		h.Set("Connection", "close")
	}
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}
