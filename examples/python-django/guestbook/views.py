from django.forms import ModelForm
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .models import Entry


class EntryForm(ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "text"]


@require_http_methods(["GET", "HEAD", "POST"])
def book(request):
    """Shows the newest hundred entries, and takes a new one."""
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("book")
    status = 400 if request.method == "POST" else 200
    return render(request, "guestbook/book.html", {"form": form, "entries": Entry.objects.all()[:100]}, status=status)
