package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/tollgate/tollgate/scripts/internal/cloudtest"
)

const (
	registry = "asia-northeast1-docker.pkg.dev/demo/tollgate"
	builder  = "gcr.io/buildpacks/builder@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// pack stands in for the program: it takes the flags that are given, notes them beside
// the package, and reports a digest made from the package's contents.
const pack = `#!/bin/sh
set -eu
[ "$1" = build ] && image=$2 && shift 2
while [ $# -gt 0 ]; do
	case $1 in
	--path) path=$2; shift 2 ;;
	--builder) builder=$2; shift 2 ;;
	--report-output-dir) report=$2; shift 2 ;;
	--network) network=$2; shift 2 ;;
	--trust-builder | --publish) shift ;;
	*) echo "unknown flag: $1" >&2; exit 2 ;;
	esac
done
if [ -e "$path/broken" ]; then echo "ERROR: failed to build: the function does not compile" >&2; exit 51; fi
echo "$image $builder ${network-}" > "$path/../$(basename "$path").said"
line=
[ -e "$path/unpushed" ] || line="digest = \"sha256:$(sha256sum < "$path/project.toml" | cut -d ' ' -f 1)\""
cat > "$report/report.toml" <<END
[build]
[image]
  tags = ["$image:latest"]
  $line
  manifest-size = 2191
END
`

// repository makes one with two functions, all staged.
func repository(t *testing.T) (root string, w world) {
	t.Helper()
	root = t.TempDir()
	for _, folder := range []string{"functions/createpayment", "functions/sweep", "terraform"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, root, "functions/openapi.yaml", "")
	for _, name := range []string{"createpayment", "sweep", "migrate", "ops"} {
		put(t, root, ".cache/package/"+name+"/project.toml", name)
	}
	put(t, root, "pack", pack)
	if err := os.Chmod(filepath.Join(root, "pack"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root, world{
		lookup: func(string) (string, bool) { return "", false },
		root:   root, pack: filepath.Join(root, "pack"), out: &bytes.Buffer{},
	}
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func written(t *testing.T, root string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "terraform/images.auto.tfvars.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Images map[string]string `json:"images"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Images
}

// Every function and job is built once, from its own package, with the pinned builder,
// and terraform is given its digest.
func TestImagesAreGivenByDigest(t *testing.T) {
	t.Parallel()
	root, w := repository(t)
	if err := run(t.Context(), w, []string{"--registry", registry, "--builder", builder, "--network", "cloudbuild"}); err != nil {
		t.Fatal(err)
	}
	images := written(t, root)
	seen := map[string]bool{}
	for _, name := range []string{"createpayment", "sweep", "migrate", "ops"} {
		image := images[name]
		if !strings.HasPrefix(image, registry+"/"+name+"@sha256:") || !byDigest.MatchString(image) || seen[image] {
			t.Errorf("%s: %q", name, image)
		}
		seen[image] = true
		said, err := os.ReadFile(filepath.Join(root, ".cache/package", name+".said"))
		if want := registry + "/" + name + " " + builder + " cloudbuild\n"; err != nil || string(said) != want {
			t.Errorf("pack was told %q, not %q (%v)", said, want, err)
		}
	}
	if len(images) != 4 {
		t.Errorf("%d images: %v", len(images), images)
	}
}

func TestMistakesAreFoundFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		spoil func(t *testing.T, root string)
		want  string
	}{
		"no registry":        {nil, nil, "--registry"},
		"a builder by tag":   {[]string{"--registry", registry, "--builder", "gcr.io/buildpacks/builder:google-24"}, nil, "by digest"},
		"an argument":        {[]string{"all"}, nil, "not understood"},
		"a missing package":  {good(), func(t *testing.T, root string) { remove(t, root, ".cache/package/sweep") }, "not staged"},
		"a broken package":   {good(), func(t *testing.T, root string) { put(t, root, ".cache/package/sweep/broken", "") }, "does not compile"},
		"an image not there": {good(), func(t *testing.T, root string) { put(t, root, ".cache/package/ops/unpushed", "") }, "no digest"},
		"no pack":            {good(), func(t *testing.T, root string) { remove(t, root, "pack") }, "pack is needed"},
		"no deployment":      {[]string{"--running"}, nil, "which deployment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, w := repository(t)
			if c.spoil != nil {
				c.spoil(t, root)
			}
			if err := run(t.Context(), w, c.args); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something about %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(root, "terraform/images.auto.tfvars.json")); err == nil {
				t.Error("terraform was given images all the same")
			}
		})
	}
}

func good() []string { return []string{"--registry", registry, "--builder", builder} }

func remove(t *testing.T, root, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
		t.Fatal(err)
	}
}

// The images that run are all written, or none: terraform would take the others away.
func TestImagesThatRun(t *testing.T) {
	t.Parallel()
	cloud, err := cloudtest.Start(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	root, w := repository(t)
	w.lookup = func(name string) (string, bool) {
		value, ok := map[string]string{
			"CLOUD_ENDPOINT": cloud.Endpoint(), "TF_VAR_project": cloudtest.Project, "TF_VAR_region": cloudtest.Region,
		}[name]
		return value, ok
	}
	cloud.Deploy("createpayment", "createpayment-00001-abc", true)
	cloud.Deploy("createpayment", "createpayment-00002-def", true)
	cloud.AddJob("migrate", true)
	cloud.AddJob("ops", true)
	if err := run(t.Context(), w, []string{"--running"}); err == nil || !strings.Contains(err.Error(), "not deployed: [sweep]") {
		t.Fatalf("got %v", err)
	}
	cloud.Deploy("sweep", "sweep-00001-abc", true)
	if err := run(t.Context(), w, []string{"--running"}); err != nil {
		t.Fatal(err)
	}
	newest := written(t, root)["createpayment"]

	// A release that was taken back does not come again with what is applied next.
	cloud.Shift("createpayment", &runpb.TrafficTarget{
		Type:     runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
		Revision: "createpayment-00001-abc", Percent: 100, Tag: "stable",
	})
	if err := run(t.Context(), w, []string{"--running"}); err != nil {
		t.Fatal(err)
	}
	images := written(t, root)
	if got := images["createpayment"]; got == newest || !strings.HasPrefix(got, registry+"/createpayment@sha256:") {
		t.Errorf("createpayment: %s, and its newest revision, which serves nobody, has %s", got, newest)
	}
	if len(images) != 4 || !strings.HasPrefix(images["migrate"], registry+"/migrate@sha256:") {
		t.Errorf("%v", images)
	}
}
