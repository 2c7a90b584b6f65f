package main

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/shared/fault"
)

// explain puts an error into an operator's words.
func explain(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return explainFault(f)
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	text := err.Error()
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		text += "\nYour account needs the role roles/cloudtasks.admin, or one with cloudtasks.tasks.list and .run; for circuits, roles/datastore.user; for making endpoints, roles/cloudkms.cryptoKeyEncrypter on WEBHOOK_KMS_KEY."
	}
	if strings.Contains(text, "could not find default credentials") {
		text += "\nLog in with: gcloud auth application-default login"
	}
	return text
}

func explainFault(f *fault.Error) string {
	if len(f.Fields) == 0 && f.Err == nil {
		return f.Detail
	}
	var parts []string
	for _, field := range f.Fields {
		parts = append(parts, field.Name+" "+field.Detail)
	}
	if f.Err != nil { // an internal fault: whoever operates the system may see its cause
		parts = append(parts, f.Detail+": "+f.Err.Error())
	}
	return strings.Join(parts, "; ")
}
