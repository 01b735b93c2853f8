from django.test import Client, TestCase
from django.urls import reverse

from .models import Entry


class GuestbookTest(TestCase):
    def test_an_entry_that_was_written_is_shown(self):
        response = self.client.post(reverse("book"), {"name": "Ada", "text": "Was here."}, follow=True)
        self.assertContains(response, "Was here.")
        self.assertEqual(Entry.objects.get().name, "Ada")

    def test_the_newest_entry_comes_first(self):
        for name in ["first", "second", "third"]:
            Entry.objects.create(name=name, text="…")
        self.assertEqual([entry.name for entry in Entry.objects.all()], ["third", "second", "first"])

    def test_markup_in_an_entry_is_text(self):
        Entry.objects.create(name="Mallory", text="<script>alert(1)</script>")
        response = self.client.get(reverse("book"))
        self.assertContains(response, "&lt;script&gt;")
        self.assertNotContains(response, "<script>")

    def test_an_entry_without_a_name_is_refused_with_the_form(self):
        response = self.client.post(reverse("book"), {"text": "anonymous"})
        self.assertContains(response, "This field is required", status_code=400)
        self.assertFalse(Entry.objects.exists())

    def test_a_form_from_elsewhere_is_refused(self):
        response = Client(enforce_csrf_checks=True).post(reverse("book"), {"name": "Eve", "text": "forged"})
        self.assertEqual(response.status_code, 403)
        self.assertFalse(Entry.objects.exists())
