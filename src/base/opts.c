/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/opts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/size.h"

#define NAME_MAX_LEN 40

/* Edit distance of two short words, where swapping two neighbours is one step
 * (optimal string alignment). */
static unsigned distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned rows[3][NAME_MAX_LEN + 1], *old = rows[0], *last = rows[1], *row = rows[2];

	if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN)
		return UINT32_MAX;
	for (size_t j = 0; j <= lb; j++)
		old[j] = last[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *spare = old;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			row[j] = min_of(last[j - 1] + (a[i - 1] != b[j - 1]),
					min_of(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min_of(row[j], old[j - 2] + 1);
		}
		old = last;
		last = row;
		row = spare;
	}
	return last[lb];
}

const char *opts_nearest(const char *given, const void *names, size_t count, size_t stride)
{
	size_t len = strlen(given);
	unsigned best = UINT32_MAX, limit = len <= 3 ? 1 : len <= 6 ? 2 : 3;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		const char *name;
		unsigned d;

		memcpy(&name, (const char *)names + i * stride, sizeof(name));
		d = distance(given, name);
		/* A beginning counts as near, however much is missing. */
		if (len >= 3 && !strncmp(given, name, len))
			d = min_of(d, 1u);
		if (d < best) {
			best = d;
			found = name;
		}
	}
	return best <= limit ? found : NULL;
}

static int unknown(const struct cmd_desc *cmd, const char *name, struct err *err)
{
	const char *near = cmd->opt_count ? opts_nearest(name, &cmd->opts[0].name, cmd->opt_count,
							  sizeof(cmd->opts[0]))
					  : NULL;

	if (near)
		return err_set(err, -EINVAL, "unknown option '--%s'; did you mean '--%s'? "
			       "(bothy help %s lists all)", name, near, cmd->name);
	return err_set(err, -EINVAL, "unknown option '--%s'; bothy help %s lists all", name,
		       cmd->name);
}

static bool is_one_of(const char *word, const char *words)
{
	size_t n = strlen(word), k;

	for (; *words; words += k + (words[k] == '|')) {
		k = strcspn(words, "|");
		if (k == n && !strncmp(words, word, n))
			return true;
	}
	return false;
}

static int convert(const struct opt_desc *o, struct opt_value *v, struct err *err)
{
	char lo[32], hi[32];
	int ret = 0;

	if (o->type == OPT_SIZE)
		ret = parse_size(v->text, o->unit_bytes, &v->number, err);
	else if (o->type == OPT_UINT)
		ret = parse_uint(v->text, &v->number, err);
	else if (o->type == OPT_PATH && !*v->text)
		ret = err_set(err, -EINVAL, "the name is empty; give a file");
	else if (o->type == OPT_TEXT && o->only && !is_one_of(v->text, o->only))
		ret = err_set(err, -EINVAL, "'%s' is none of %s", v->text, o->only);
	if (ret < 0)
		return err_prefix(err, ret, "--%s", o->name);
	if (o->type == OPT_UINT && (v->number < o->min || v->number > o->max))
		return err_set(err, -ERANGE, "--%s: %s is out of range; give %" PRIu64
			       " to %" PRIu64, o->name, v->text, o->min, o->max);
	if (o->type == OPT_SIZE && (v->number < o->min || v->number > o->max))
		return err_set(err, -ERANGE, "--%s: %s is out of range; give %s to %s", o->name,
			       v->text, format_size(o->min, lo, sizeof(lo)),
			       format_size(o->max, hi, sizeof(hi)));
	return 0;
}

static int one_option(const struct cmd_desc *cmd, char *arg, const char *next,
		      struct opt_value *values, bool *used_next, struct err *err)
{
	char name[NAME_MAX_LEN + 2];
	const char *eq = strchr(arg, '=');
	size_t len = eq ? (size_t)(eq - arg) : strlen(arg), i;
	const struct opt_desc *o;

	*used_next = false;
	snprintf(name, sizeof(name), "%.*s", (int)min_of(len, (size_t)NAME_MAX_LEN), arg);
	for (i = 0; i < cmd->opt_count; i++)
		if (strlen(cmd->opts[i].name) == len && !strncmp(cmd->opts[i].name, arg, len))
			break;
	if (i == cmd->opt_count)
		return unknown(cmd, name, err);
	o = &cmd->opts[i];
	if (values[i].given && !o->repeat)
		return err_set(err, -EINVAL, "--%s is given twice; give it once", o->name);
	if (values[i].count == OPT_REPEAT_MAX)
		return err_set(err, -EINVAL, "--%s is given more than %d times", o->name,
			       OPT_REPEAT_MAX);
	values[i].given = true;
	if (o->type == OPT_FLAG) {
		if (eq)
			return err_set(err, -EINVAL, "--%s takes no value", o->name);
		return 0;
	}
	values[i].text = eq ? eq + 1 : next;
	*used_next = !eq;
	if (!values[i].text)
		return err_set(err, -EINVAL, "--%s needs a value: --%s %s", o->name, o->name,
			       o->meta);
	if (o->repeat)
		values[i].texts[values[i].count++] = values[i].text;
	return convert(o, &values[i], err);
}

static int fill_defaults(const struct cmd_desc *cmd, struct opt_value *values, struct err *err)
{
	for (size_t i = 0; i < cmd->opt_count; i++) {
		const struct opt_desc *o = &cmd->opts[i];
		int ret;

		if (values[i].given)
			continue;
		if (o->required)
			return err_set(err, -EINVAL, "--%s %s is missing; bothy help %s shows an "
				       "example", o->name, o->meta, cmd->name);
		values[i].text = o->def;
		if (o->def) {
			ret = convert(o, &values[i], err);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

static int one_operand(const struct cmd_desc *cmd, const char *arg, const char **operands,
		       size_t max, size_t *count, struct err *err)
{
	if (!max)
		return err_set(err, -EINVAL, "'%s' is not an option; bothy help %s lists "
			       "the options", arg, cmd->name);
	if (*count == max)
		return err_set(err, -EINVAL, "'%s' is one word too many; it is: bothy %s %s", arg,
			       cmd->name, cmd->operands);
	operands[(*count)++] = arg;
	return 0;
}

int opts_parse_operands(const struct cmd_desc *cmd, int argc, char **argv,
			struct opt_value *values, const char **operands, size_t max, size_t *count,
			bool *help, struct err *err)
{
	bool used_next, plain = false;
	int ret;

	*help = false;
	*count = 0;
	if (cmd->opt_count)
		memset(values, 0, cmd->opt_count * sizeof(*values));
	for (int i = 0; i < argc; i++) {
		if (!plain && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
			*help = true;
			return 0;
		}
		if (!plain && max && !strcmp(argv[i], "--")) {
			plain = true;
			continue;
		}
		if (plain || strncmp(argv[i], "--", 2) || !argv[i][2]) {
			ret = one_operand(cmd, argv[i], operands, max, count, err);
			if (ret < 0)
				return ret;
			continue;
		}
		ret = one_option(cmd, argv[i] + 2, i + 1 < argc ? argv[i + 1] : NULL, values,
				 &used_next, err);
		if (ret < 0)
			return ret;
		i += used_next;
	}
	return fill_defaults(cmd, values, err);
}

int opts_parse(const struct cmd_desc *cmd, int argc, char **argv, struct opt_value *values,
	       bool *help, struct err *err)
{
	size_t none;

	return opts_parse_operands(cmd, argc, argv, values, NULL, 0, &none, help, err);
}

/* Prints words from @text, wrapped at 79 columns, each line after @indent. */
static void print_wrapped(FILE *out, const char *text, unsigned indent)
{
	unsigned col = indent;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (col > indent && col + 1 + n > 79) {
			fprintf(out, "\n%*s", (int)indent, "");
			col = indent;
		}
		if (col > indent) {
			fputc(' ', out);
			col++;
		}
		fwrite(text, 1, n, out);
		col += (unsigned)n;
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

void opts_print_help(const char *program, const struct cmd_desc *cmd, FILE *out)
{
	fprintf(out, "usage: %s %s %s%s[options]\n\n", program, cmd->name,
		cmd->operands ? cmd->operands : "", cmd->operands ? " " : "");
	print_wrapped(out, cmd->description, 0);
	if (cmd->opt_count)
		fprintf(out, "\noptions:\n");
	for (size_t i = 0; i < cmd->opt_count; i++) {
		const struct opt_desc *o = &cmd->opts[i];
		char head[64];

		snprintf(head, sizeof(head), "  --%s%s%s", o->name, o->meta ? " " : "",
			 o->meta ? o->meta : "");
		fprintf(out, strlen(head) < 24 ? "%-24s" : "%s\n                        ", head);
		print_wrapped(out, o->help, 24);
		if (o->def && *o->def)
			fprintf(out, "%24sdefault: %s\n", "", o->def);
	}
	if (cmd->epilog && *cmd->epilog)
		fprintf(out, "\n%s", cmd->epilog);
}
