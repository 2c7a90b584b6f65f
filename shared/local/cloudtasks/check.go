package cloudtasks

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	pb "cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	maxTask       = 100 << 10 // as the API's comment says; the quotas page allows more
	maxHeaders    = 80 << 10
	maxURL        = 2083
	maxAhead      = 30 * 24 * time.Hour
	minDeadline   = 15 * time.Second
	maxDeadline   = 30 * time.Minute
	maxRate       = 500
	maxConcurrent = 5000
)

var (
	queueName = regexp.MustCompile(`^projects/[A-Za-z0-9.:-]+/locations/[a-z0-9-]+/queues/[A-Za-z0-9-]{1,100}$`)
	taskID    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,500}$`)
)

func invalid(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

func unsupported(what string) error {
	return status.Error(codes.Unimplemented, what+" is not supported by this server")
}

// checkQueue looks at what was asked for, and at what that is with the defaults.
func checkQueue(asked, conf *pb.Queue) error {
	rates, retry := conf.RateLimits, conf.RetryConfig
	switch {
	case !queueName.MatchString(conf.Name):
		return invalid("queue name %q", conf.Name)
	case asked.HttpTarget != nil:
		return unsupported("http_target")
	case asked.AppEngineRoutingOverride != nil:
		return unsupported("app_engine_routing_override")
	case rates.MaxDispatchesPerSecond < 0 || rates.MaxDispatchesPerSecond > maxRate:
		return invalid("max_dispatches_per_second must be above 0 and at most %d", maxRate)
	case rates.MaxConcurrentDispatches < 0 || rates.MaxConcurrentDispatches > maxConcurrent:
		return invalid("max_concurrent_dispatches must be above 0 and at most %d", maxConcurrent)
	}
	return checkRetry(retry)
}

func checkRetry(c *pb.RetryConfig) error {
	switch {
	case c.MaxAttempts < -1:
		return invalid("max_attempts must be at least -1")
	case c.MaxRetryDuration.AsDuration() < 0 || c.MinBackoff.AsDuration() < 0 || c.MaxBackoff.AsDuration() < 0 || c.MaxDoublings < 0:
		return invalid("retry_config has a negative duration or max_doublings")
	case c.MaxBackoff != nil && c.MinBackoff.AsDuration() > c.MaxBackoff.AsDuration():
		return invalid("min_backoff is longer than max_backoff")
	}
	return nil
}

func checkTask(parent string, t *pb.Task, now time.Time) error {
	if t == nil {
		return invalid("task is required")
	}
	if t.Name != "" {
		if queue, id := splitTaskName(t.Name); queue != parent || !taskID.MatchString(id) {
			return invalid("task name %q must be %s/tasks/ and 1 to 500 letters, digits, hyphens or underscores", t.Name, parent)
		}
	}
	if t.GetAppEngineHttpRequest() != nil {
		return unsupported("app_engine_http_request")
	}
	if err := checkRequest(t.GetHttpRequest()); err != nil {
		return err
	}
	if size := proto.Size(t); size > maxTask {
		return invalid("the task has %d bytes, more than %d", size, maxTask)
	}
	if at := t.ScheduleTime; at != nil && (!at.IsValid() || at.AsTime().After(now.Add(maxAhead))) {
		return invalid("schedule_time is more than 30 days ahead")
	}
	if d := t.DispatchDeadline; d != nil && (!d.IsValid() || d.AsDuration() < minDeadline || d.AsDuration() > maxDeadline) {
		return invalid("dispatch_deadline must be in [15s, 30m]")
	}
	if t.RetryConfig != nil {
		return checkRetry(t.RetryConfig)
	}
	return nil
}

func checkRequest(h *pb.HttpRequest) error {
	if h == nil {
		return invalid("http_request is required")
	}
	u, err := url.Parse(h.Url)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return invalid("url %q must begin with http:// or https://", h.Url)
	}
	if n := len(u.String()); n > maxURL {
		return invalid("the url has %d characters, more than %d", n, maxURL)
	}
	size := 0
	for name, value := range h.Headers {
		size += len(name) + len(value)
	}
	if size >= maxHeaders {
		return invalid("the headers have %d bytes, not less than %d", size, maxHeaders)
	}
	switch h.HttpMethod {
	case pb.HttpMethod_HTTP_METHOD_UNSPECIFIED, pb.HttpMethod_POST, pb.HttpMethod_PUT, pb.HttpMethod_PATCH:
	default:
		if len(h.Body) > 0 {
			return invalid("a body is allowed only with POST, PUT or PATCH, not %s", h.HttpMethod)
		}
	}
	if h.GetOauthToken() != nil {
		return unsupported("oauth_token")
	}
	if o := h.GetOidcToken(); o != nil && !strings.Contains(o.ServiceAccountEmail, "@") {
		return invalid("oidc_token needs a service_account_email, not %q", o.ServiceAccountEmail)
	}
	return nil
}

// splitTaskName parts a task's name into its queue's name and its id; both are empty when it is no such name.
func splitTaskName(name string) (queue, id string) {
	queue, id, ok := strings.Cut(name, "/tasks/")
	if !ok {
		return "", ""
	}
	return queue, id
}

// pageSize is the number of entries of a page: "if unspecified, the page size will be the maximum".
func pageSize(asked int32) (int, error) {
	switch {
	case asked < 0:
		return 0, invalid("page_size is negative")
	case asked == 0 || asked > maxPage:
		return maxPage, nil
	}
	return int(asked), nil
}
