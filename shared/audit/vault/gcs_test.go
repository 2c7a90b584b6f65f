package vault

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// gcs speaks as much of Cloud Storage's protocol as the real client uses here: objects.insert
// (multipart and resumable) with ifGenerationMatch, objects.list with a delimiter, and reading
// by the XML API's path. https://cloud.google.com/storage/docs/json_api
type gcs struct {
	mu       sync.Mutex
	bucket   string
	objects  map[string][]byte
	uploads  map[string]*upload
	requests []string
	lose     int
}

type upload struct {
	name    string
	onlyNew bool
	content []byte
}

func newGCS(bucket string) *gcs {
	return &gcs{bucket: bucket, objects: map[string][]byte{}, uploads: map[string]*upload{}}
}

// loseAnswers has the next n objects kept, and the connection closed instead of an answer.
func (g *gcs) loseAnswers(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lose = n
}

func (g *gcs) asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

func (g *gcs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := r.URL.Query()
	switch path := r.URL.Path; {
	case (r.Method == http.MethodPut || r.Method == http.MethodPost) && q.Get("upload_id") != "":
		g.chunk(w, r)
	case r.Method == http.MethodPost && path == "/upload/storage/v1/b/"+g.bucket+"/o" && q.Get("uploadType") == "multipart":
		g.multipart(w, r)
	case r.Method == http.MethodPost && path == "/upload/storage/v1/b/"+g.bucket+"/o" && q.Get("uploadType") == "resumable":
		g.begin(w, r)
	case r.Method == http.MethodGet && path == "/storage/v1/b/"+g.bucket+"/o":
		g.list(w, q)
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/"+g.bucket+"/"):
		g.read(w, strings.TrimPrefix(path, "/"+g.bucket+"/"))
	default:
		g.requests = append(g.requests, r.Method+" "+path)
		http.Error(w, "not spoken here: "+r.Method+" "+r.URL.String(), http.StatusNotImplemented)
	}
}

func (g *gcs) multipart(w http.ResponseWriter, r *http.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	var name string
	var content []byte
	for i := range 2 {
		part, err := parts.NextPart()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		text, _ := io.ReadAll(part)
		if i == 0 {
			name = nameOf(text)
		} else {
			content = text
		}
	}
	g.keep(w, &upload{name: name, onlyNew: g.onlyNew(r), content: content})
}

func nameOf(resource []byte) string {
	var o struct{ Name string }
	_ = json.Unmarshal(resource, &o)
	return o.Name
}

func (g *gcs) onlyNew(r *http.Request) bool {
	match := r.URL.Query().Get("ifGenerationMatch")
	g.requests = append(g.requests, strings.TrimSpace("create if "+match))
	return match == "0"
}

func (g *gcs) begin(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	upload := &upload{name: nameOf(text), onlyNew: g.onlyNew(r)}
	key := fmt.Sprint("upload-", len(g.uploads))
	g.uploads[key] = upload
	w.Header().Set("Location", "http://"+r.Host+"/upload/storage/v1/b/"+g.bucket+"/o?uploadType=resumable&upload_id="+key)
}

// chunk takes a part of a resumable upload: "bytes 0-99/*", or "bytes 100-149/150" for the last.
func (g *gcs) chunk(w http.ResponseWriter, r *http.Request) {
	u := g.uploads[r.URL.Query().Get("upload_id")]
	text, _ := io.ReadAll(r.Body)
	if u == nil {
		http.Error(w, "no such upload", http.StatusNotFound)
		return
	}
	u.content = append(u.content, text...)
	_, total, _ := strings.Cut(r.Header.Get("Content-Range"), "/")
	if n, err := strconv.Atoi(total); err != nil || n > len(u.content) {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(u.content)-1))
		w.Header().Set("X-Http-Status-Code-Override", "308") // what the client asks for with X-GUploader-No-308
		return
	}
	g.keep(w, u)
}

func (g *gcs) keep(w http.ResponseWriter, u *upload) {
	if _, there := g.objects[u.name]; there {
		if u.onlyNew {
			problem(w, http.StatusPreconditionFailed, "conditionNotMet")
		} else {
			problem(w, http.StatusForbidden, "retentionPolicyNotMet")
		}
		return
	}
	g.objects[u.name] = u.content
	if g.lose > 0 {
		g.lose--
		panic(http.ErrAbortHandler)
	}
	answer(w, map[string]any{
		"kind": "storage#object", "bucket": g.bucket, "name": u.name, "generation": "1", "metageneration": "1",
		"size": strconv.Itoa(len(u.content)),
	})
}

func (g *gcs) read(w http.ResponseWriter, name string) {
	g.requests = append(g.requests, "read")
	content, there := g.objects[name]
	if !there {
		http.Error(w, "NoSuchKey", http.StatusNotFound)
		return
	}
	w.Header().Set("X-Goog-Generation", "1")
	w.Header().Set("X-Goog-Metageneration", "1")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}

func (g *gcs) list(w http.ResponseWriter, q url.Values) {
	g.requests = append(g.requests, "list")
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	most, err := strconv.Atoi(q.Get("maxResults"))
	if err != nil {
		most = 1000
	}
	var prefixes []string
	var items []map[string]any
	for name := range g.objects {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || name < q.Get("startOffset") {
			continue
		}
		if folder, _, deeper := strings.Cut(rest, delimiter); deeper && delimiter != "" {
			prefixes = append(prefixes, prefix+folder+delimiter)
		} else {
			items = append(items, map[string]any{"name": name, "bucket": g.bucket})
		}
	}
	slices.Sort(prefixes)
	prefixes = slices.Compact(prefixes)
	token := q.Get("pageToken")
	prefixes = slices.DeleteFunc(prefixes, func(p string) bool { return token != "" && p <= token })
	page := map[string]any{"kind": "storage#objects", "items": items}
	if len(prefixes) > most {
		prefixes = prefixes[:most]
		page["nextPageToken"] = prefixes[most-1]
	}
	page["prefixes"] = prefixes
	answer(w, page)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": reason, "errors": []map[string]any{{"reason": reason, "message": reason}},
	}})
}
