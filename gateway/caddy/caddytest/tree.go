package caddytest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// index finds the objects that have an @id. Caddy 2.6 takes one that is there twice, and finds either.
func (s *Server) index(config any) (map[string]string, error) {
	found := map[string]string{}
	var walk func(v any, path string) error
	walk = func(v any, path string) error {
		switch v := v.(type) {
		case map[string]any:
			for key, inside := range v {
				if key == "@id" {
					id, is := inside.(string)
					if n, number := inside.(float64); number {
						id, is = strconv.FormatFloat(n, 'f', -1, 64), true
					}
					if !is {
						return fmt.Errorf("%s: @id has invalid type", path)
					}
					if at, twice := found[id]; twice && !s.options.Old {
						return fmt.Errorf("duplicate ID '%s' found at %s and %s", id, at, path)
					}
					found[id] = path
					continue
				}
				if err := walk(inside, path+"/"+key); err != nil {
					return err
				}
			}
		case []any:
			for i, inside := range v {
				if err := walk(inside, path+"/"+strconv.Itoa(i)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return found, walk(config, "/config")
}

// at is the value at a path.
func (s *Server) at(path string) (any, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var v any = map[string]any{"config": s.config}
	for i, part := range parts {
		switch inside := v.(type) {
		case map[string]any:
			v = inside[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(inside) {
				return nil, fmt.Errorf("[/%s] array index out of bounds: %s", strings.Join(parts[:i+1], "/"), part)
			}
			v = inside[n]
		default:
			return nil, fmt.Errorf("invalid traversal path at: %s", strings.Join(parts[:i+1], "/"))
		}
	}
	return v, nil
}

// alter makes one change of a tree.
func alter(root map[string]any, method, path string, value any) error {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var v any = root
	for i, part := range parts {
		last := i == len(parts)-1
		switch inside := v.(type) {
		case map[string]any:
			if list, is := inside[part].([]any); is && i == len(parts)-2 && method != http.MethodPost {
				changed, err := element(list, method, path, parts[i+1], value)
				if err == nil {
					inside[part] = changed
				}
				return err
			}
			if last {
				return member(inside, method, path, part, value)
			}
			if inside[part] == nil && method == http.MethodPut {
				inside[part] = map[string]any{}
			}
			v = inside[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(inside) {
				return fmt.Errorf("[/%s] array index out of bounds: %s", strings.Join(parts[:i+1], "/"), part)
			}
			v = inside[n]
		default:
			return fmt.Errorf("invalid traversal path at: %s", strings.Join(parts[:i+1], "/"))
		}
	}
	return nil
}

// element changes one of a list.
func element(list []any, method, path, at string, value any) ([]any, error) {
	n, err := strconv.Atoi(at)
	if err != nil || n < 0 || n > len(list) || n == len(list) && method != http.MethodPut {
		return nil, fmt.Errorf("[%s] array index out of bounds: %s", path, at)
	}
	switch method {
	case http.MethodPut:
		return slices.Insert(list, n, value), nil
	case http.MethodPatch:
		list[n] = value
	case http.MethodDelete:
		return slices.Delete(list, n, n+1), nil
	}
	return list, nil
}

// member changes one of an object.
func member(inside map[string]any, method, path, key string, value any) error {
	_, there := inside[key]
	switch method {
	case http.MethodPost:
		if list, is := inside[key].([]any); is {
			inside[key] = append(list, value)
			return nil
		}
	case http.MethodPut:
		if there {
			return fail(http.StatusConflict, "[%s] key already exists: %s", path, key)
		}
	case http.MethodPatch:
		if !there {
			return fail(http.StatusNotFound, "[%s] key does not exist: %s", path, key)
		}
	case http.MethodDelete:
		if !there {
			return fail(http.StatusNotFound, "[%s] key does not exist: %s", path, key)
		}
		delete(inside, key)
		return nil
	default:
		return fail(http.StatusMethodNotAllowed, "method %s not allowed", method)
	}
	inside[key] = value
	return nil
}
